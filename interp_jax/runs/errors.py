"""What can go wrong between a program and its store; each message is one line that says what to do."""


class StoreError(ValueError):
    """The folder cannot be used: another configuration, foreign files, a damaged manifest, no permission."""


class CheckpointError(ValueError):
    """A stored unit is not what was committed; the message names the chain, the unit, and the leaf or the file."""


class SaveError(StoreError):
    """A unit could not be written (disk full, quota, no permission); what was committed before remains."""
