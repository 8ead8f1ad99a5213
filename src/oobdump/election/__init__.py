"""Who is the sentinel of a job directory on this node: a lock says so, and a worker starts one where nobody is."""
