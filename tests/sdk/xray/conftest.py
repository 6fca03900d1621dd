from tests.sdk.patches.conftest import handle, recorded, web

__all__ = ["handle", "recorded", "web"]
