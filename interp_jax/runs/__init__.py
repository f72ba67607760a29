"""The one host driver: idempotent units of work committed to a store."""
