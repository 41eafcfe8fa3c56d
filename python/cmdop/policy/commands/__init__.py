"""What commands do, one module per family."""
