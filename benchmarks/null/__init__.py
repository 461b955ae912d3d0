"""Are the p-values of human text what they claim to be?"""
