"""Would another way of making templates pay? Measured on people that nothing was tuned on. See
README.md."""
