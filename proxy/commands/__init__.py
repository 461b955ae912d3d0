"""The gateway's subcommands, one file each."""
