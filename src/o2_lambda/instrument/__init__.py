"""What runs inside the customer's function. Nothing here is imported by the rest of the project."""
