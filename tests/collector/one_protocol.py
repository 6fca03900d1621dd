"""Clients of AWS as those are that know one wire protocol alone."""

from __future__ import annotations

from typing import Any

import boto3
import botocore.session
from botocore.loaders import Loader


class OneProtocol(Loader):  # type: ignore[misc]
    """Models that name one protocol, as those of clients that know no other."""

    protocol = ""

    def load_service_model(self, *arguments: Any, **named: Any) -> Any:
        model = super().load_service_model(*arguments, **named)
        if "metadata" not in model:
            return model
        return {**model, "metadata": {**model["metadata"], "protocols": [self.protocol]}}


def session_of(protocol: str) -> boto3.Session:
    """A session whose clients speak `protocol`, as botocore names it."""
    session = botocore.session.get_session()
    loader = OneProtocol()
    loader.protocol = protocol
    session.register_component("data_loader", loader)
    return boto3.Session(botocore_session=session)
