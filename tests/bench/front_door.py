"""The front door beside good C proxies: CPU, latency, streams, memory; and other routers, when asked.

All proxies have one thread (each node of a mesh: one for I/O beside its mesh's) and share one core; the load
and the fake instances have the other. What is compared runs side by side and takes turns. A row with errors
is no figure: it is infinite.
"""

# pylint: disable=unused-import
from front.cpu import front_cpu
from front.idle import front_idle
from front.latency import front_latency
from front.mixed import front_mixed
from front.peers import front_peers
from front.streams import front_streams
