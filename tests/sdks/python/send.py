"""Makes one of each call with Segment's library for Python, and prints what the library complains about.

send.py HOST EMAIL [gzip]
"""

import sys

import segment.analytics

host, email, *options = sys.argv[1:]
complaints = []
client = segment.analytics.Client(
    "write_1",
    host=host,
    gzip="gzip" in options,
    on_error=lambda error, batch: complaints.append(f"{len(batch)} events were given up: {error}"),
)

client.identify("user-1", {"email": email, "firstName": "Ada", "lastName": "Lovelace"})
client.track("user-1", "Signed Up", {"plan": "partner"})
client.page("user-1", "docs", "Home")
client.screen("user-1", "docs", "Home")
client.group("user-1", "group-1", {"name": "Analysts"})
client.alias("anonymous-1", "user-1")
client.flush()
client.join()

# What it logs, warnings and worse, is on stderr already.
sys.exit("\n".join(complaints) or 0)
