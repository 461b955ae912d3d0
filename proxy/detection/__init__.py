"""POST /detect: whether a text carries the site's mark, for anybody, without a key.

endpoint.py   the requests: limits, bounds, the verdict as JSON
clients.py    how often one client address may ask
process.py    the process that judges: started, watched, ended
worker.py     what runs in it
"""

from proxy.detection.endpoint import DETECT, Detection
from proxy.detection.process import DetectorProcess

__all__ = ["DETECT", "Detection", "DetectorProcess"]
