"""How far do the channels' realised shares stray from the intended ones, key by key?"""
