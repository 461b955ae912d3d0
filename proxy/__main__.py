"""`python -m proxy` is `azeotrope`."""

from proxy.cli import main

main()
