"""Moving sample data to and from remotes: a server, a directory or a bucket."""

import os

# gRPC reports every connection that ends on standard error, beside the error that we raise. It
# reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
