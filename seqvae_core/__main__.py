"""`python -m seqvae_core` is the command line."""

from seqvae_core.cli import main

if __name__ == "__main__":
    main()
