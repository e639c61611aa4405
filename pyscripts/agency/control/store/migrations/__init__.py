"""The schema's revisions, applied by agency.control.store.migrate."""
