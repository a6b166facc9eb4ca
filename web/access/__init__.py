"""Who may do what: tokens, what each of them allows, and the gate that every request passes."""
