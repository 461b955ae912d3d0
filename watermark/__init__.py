"""Green-list token watermarks: the format az1, its embedders and its detector.

Nothing here knows of HTTP or Redis. `watermark.embed` and the modules that it
uses import only numpy, torch and the standard library, because they run inside
other people's inference servers.
"""

__distribution__ = "azeotrope"
