"""What tests share: real programs (``programs``) and their dumps (``dumps``); standard library only."""
