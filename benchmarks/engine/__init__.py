"""How fast is the built-in engine?"""
