"""
What the product costs and how fast it is, measured on this machine: `make bench`.

usage: python -m tests.bench [--quick] [--output DIRECTORY] [PART...]

Parts are measured in their order, all of them when none is named. `--quick`
measures next to nothing, and shows that the harness works. Needs what
`make bench` builds; writes to DIRECTORY alone.
"""
