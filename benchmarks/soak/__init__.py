"""Ten minutes of a gateway's life: does anything in it only grow?"""
