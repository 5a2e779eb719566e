"""Files as an attacker would send them."""
