"""Time series: `.ts` files and tables."""
