"""One credential's life: the hooks of token_lifecycle, token_refresh and sign_out, and their parts."""
