from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

SERVICE_NAMES = ("logs", "cloudwatch")


@dataclass(frozen=True)
class AwsService:
    """An AWS service as botocore's model describes it."""

    name: str
    target_prefix: str  # of X-Amz-Target, in the JSON protocols
    json_version: str
    api_version: str  # `Version` in the query protocol
    xml_namespace: str | None  # None when the service never spoke the query protocol
    is_query_compatible: bool  # its JSON errors also carry the query protocol's code
    model: Any

    def operation(self, name: str) -> Any | None:
        """The model of the operation `name`; None when AWS has no such operation."""
        return self.model.operation_model(name) if name in self.model.operation_names else None


def load_services() -> tuple[AwsService, ...]:
    """The services whose APIs the collector answers. Reads their models from botocore's data."""
    loader = Loader()
    return tuple(_load(loader, name) for name in SERVICE_NAMES)


def _load(loader: Any, name: str) -> AwsService:
    model = ServiceModel(loader.load_service_model(name, "service-2"), name)
    metadata = model.metadata
    return AwsService(
        name=name,
        target_prefix=metadata["targetPrefix"],
        json_version=metadata["jsonVersion"],
        api_version=metadata["apiVersion"],
        xml_namespace=metadata.get("xmlNamespace"),
        is_query_compatible="awsQueryCompatible" in metadata,
        model=model,
    )
