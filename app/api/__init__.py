"""The HTTP interface: routers and the schemas of the wire format."""
