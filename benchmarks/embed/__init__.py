"""What does embedding add to a decode step?"""
