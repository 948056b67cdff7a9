import pytest


@pytest.fixture(params=[True, False], ids=["for a CPU", "for a GPU"])
def software(request):
    """Operations choose workgroups by Caps.software: both choices must compute the same on every adapter."""
    return request.param
