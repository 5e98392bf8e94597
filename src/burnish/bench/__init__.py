"""How fast this machine does the work of training and sampling, beside what it could do."""
