"""Publishing the layer: `PublishLayerVersion`, through boto3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lambdatrace.layer.bytecode import LayerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# A request of 70 MB at most carries the zip in base64; above, it has to be in S3 first.
ARCHIVE_BYTES_MAX = 50 * 1024 * 1024


def publish_layer(
    client: Any,
    name: str,
    archive: bytes,
    *,
    versions: Sequence[str],
    architectures: Sequence[str],
    description: str,
) -> str:
    """The ARN of the new version of the layer `name`. `client` is boto3's for `lambda`.

    Raises LayerError if the archive is too large to be sent, or AWS refuses it.
    Source: Lambda API reference, PublishLayerVersion.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    if len(archive) > ARCHIVE_BYTES_MAX:
        raise LayerError(
            f"the layer has {len(archive)} bytes, above the {ARCHIVE_BYTES_MAX} that can be sent: "
            "leave extras out, or upload it to S3 and publish it from there"
        )
    try:
        answer = client.publish_layer_version(
            LayerName=name,
            Description=description,
            Content={"ZipFile": archive},
            CompatibleRuntimes=[f"python{version}" for version in versions],
            CompatibleArchitectures=list(architectures),
            LicenseInfo="Apache-2.0",
        )
    except (BotoCoreError, ClientError) as error:
        raise LayerError(f"the layer was not published: {error}") from error
    return str(answer["LayerVersionArn"])
