"""The command line: ``rini serve``, ``rini keygen``, ``rini user``, ``rini keys``, ``rini db``."""
