"""The service: what takes raw examples in and streams balanced batches out."""
