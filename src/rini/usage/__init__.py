"""What calls consumed and what that costs: the ledger, prices, and reports over both."""
