"""Batches: thousands of requests in one file, one job for all of them, one file of results.

The items are jobs themselves (`batch_id`, `batch_index`), which the batch's worker runs; this package has what comes
before, the records of a batch and its items, and what comes after, the file of results.
"""

from services.gateway.batches.records import BatchItem, Counts, count_items, queue_batch
from services.gateway.batches.results import CONTENT_TYPE, write_results

__all__ = ["CONTENT_TYPE", "BatchItem", "Counts", "count_items", "queue_batch", "write_results"]
