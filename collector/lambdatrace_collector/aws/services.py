from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel

SERVICE_NAMES = ("logs", "cloudwatch", "xray")

_ERROR_NAMESPACES = {"cloudwatch": "com.amazonaws.cloudwatch.v2010_08_01#"}
# The errors that come before a service's own, as CloudWatch writes them; the others have bare names
_FRAMEWORK_NAMESPACE = "com.amazon.coral.service#"
_CONSTRAINT_ERROR = "com.amazon.coral.validate#ValidationException"


@dataclass(frozen=True)
class AwsService:
    """An AWS service as botocore's model describes it."""

    name: str
    protocols: frozenset[str]  # botocore's names: json, query, rest-json, smithy-rpc-v2-cbor
    target_prefix: str  # of X-Amz-Target and of rpc-v2's path; empty where there is none
    json_version: str
    api_version: str  # `Version` in the query protocol
    xml_namespace: str  # of the query protocol; empty where it is not spoken
    is_query_compatible: bool  # its other protocols' errors also carry the query protocol's code
    model: Any

    def operation(self, name: str) -> Any | None:
        """The model of the operation `name`; None when AWS has no such operation."""
        return self.model.operation_model(name) if name in self.model.operation_names else None

    def error_shape(self, code: str) -> Any | None:
        """The shape of the error `code`; None where it is not one of the service's own."""
        return next((shape for shape in self.model.error_shapes if shape.name == code), None)

    def error_type(self, code: str) -> str:
        """What `__type` says for the error `code`."""
        namespace = _ERROR_NAMESPACES.get(self.name)
        if namespace is None:
            return code
        if code == "ValidationException":
            return _CONSTRAINT_ERROR
        return (namespace if self.error_shape(code) else _FRAMEWORK_NAMESPACE) + code


def load_services() -> tuple[AwsService, ...]:
    """The services whose APIs the collector answers. Reads their models from botocore's data."""
    loader = Loader()
    return tuple(_load(loader, name) for name in SERVICE_NAMES)


def _load(loader: Any, name: str) -> AwsService:
    model = ServiceModel(loader.load_service_model(name, "service-2"), name)
    metadata = model.metadata
    return AwsService(
        name=name,
        protocols=frozenset(metadata.get("protocols", [metadata["protocol"]])),
        target_prefix=metadata.get("targetPrefix", ""),
        json_version=metadata.get("jsonVersion", "1.1"),
        api_version=metadata["apiVersion"],
        xml_namespace=metadata.get("xmlNamespace", ""),
        is_query_compatible="awsQueryCompatible" in metadata,
        model=model,
    )
