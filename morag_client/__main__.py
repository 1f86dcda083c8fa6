"""`python -m morag_client`: the command line."""

from morag_client.cli import main

main()
