"""The subcommands of `robot-rl`, one module each with `run(arguments) -> exit code`."""
