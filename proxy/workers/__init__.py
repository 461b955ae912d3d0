"""Several processes that serve as one: a supervisor and its workers.

supervisor   owns what is shared: the ports, the embedded Valkey, the metrics' files
crew         the workers of one configuration: started, kept alive, retired together
member       one worker as its supervisor sees it
channel      what the two say to each other, over a socket pair
worker       the process that serves
counted      the metrics of all workers, living and dead
"""
