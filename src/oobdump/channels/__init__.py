"""How a request arrives: dropped files, signals, and the bell that both end in."""
