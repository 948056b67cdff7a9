"""What a person can do where WebGPU is missing, per browser. Pure text: knows no page."""

from __future__ import annotations

NO_NAVIGATOR_GPU = "This browser does not offer WebGPU to this page (navigator.gpu is missing)."


def insecure() -> str:
    """For a page that was opened over plain HTTP from another machine."""
    return "Open the page over https:// or from localhost: browsers offer WebGPU to secure pages only."


def no_webgpu(user_agent: str) -> str:
    """For a secure page without navigator.gpu."""
    if "Firefox/" in user_agent:
        return "Use Firefox 141 or newer on Windows (145 on macOS), or set dom.webgpu.enabled in about:config."
    if "Chrome/" in user_agent:
        return (
            "Use Chrome or Edge 113 or newer; on Linux and with older drivers enable "
            "chrome://flags/#enable-unsafe-webgpu and restart the browser."
        )
    if "Safari/" in user_agent:
        return "Use Safari 26 or newer, or switch WebGPU on under Settings, Feature Flags."
    return "Use a browser with WebGPU: Chrome or Edge 113, Safari 26, Firefox 141, or newer."


def no_adapter(user_agent: str) -> str:
    """For a page whose navigator.gpu has no adapter to give."""
    if "Chrome/" in user_agent:
        return (
            "See chrome://gpu for the reason: update the graphics driver, switch on hardware acceleration in the "
            "settings, or enable chrome://flags/#enable-unsafe-webgpu and restart the browser."
        )
    return "Update the graphics driver, switch on hardware acceleration in the browser's settings, and restart it."


def blocklisted(user_agent: str) -> str:
    """For a GPU that the browser uses for drawing, but not for WebGPU."""
    if "Chrome/" in user_agent:
        return (
            "Update the graphics driver (chrome://gpu tells the reason), or enable "
            "chrome://flags/#enable-unsafe-webgpu and restart the browser."
        )
    return "Update the graphics driver and the browser, and restart it."
