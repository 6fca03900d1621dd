from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lambdatrace_collector.xray.documents import SegmentError
from lambdatrace_collector.xray.sampling import Sampling
from lambdatrace_collector.xray.segments import read_segment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lambdatrace_collector.aws.call import Call, Operation
    from lambdatrace_collector.xray.segment_store import SegmentStore


def operations(segments: SegmentStore) -> Mapping[tuple[str, str], Operation]:
    """The operations of X-Ray."""
    sampling = Sampling()

    async def put_trace_segments(call: Call) -> Mapping[str, Any]:
        """PutTraceSegments: what is no segment is named in the answer, the others are stored."""
        read, unprocessed = [], []
        for document in call.parameters["TraceSegmentDocuments"]:
            try:
                read.append((read_segment(document), document))
            except SegmentError as error:
                message = f"Invalid segment. ErrorCode: {error.code}: {error}"
                own = {"Id": error.segment_id} if error.segment_id else {}
                unprocessed.append({**own, "ErrorCode": error.code, "Message": message})
        await segments.put(read, call.account, call.region)
        return {"UnprocessedTraceSegments": unprocessed}

    offered: dict[str, Operation] = {
        "GetSamplingRules": sampling.get_sampling_rules,
        "GetSamplingTargets": sampling.get_sampling_targets,
        "PutTraceSegments": put_trace_segments,
    }
    return {("xray", name): operation for name, operation in offered.items()}
