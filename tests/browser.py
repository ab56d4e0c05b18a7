"""A real browser without a window, for tests of the server's page."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREENSHOTS = Path(__file__).parents[1] / "build" / "screenshots"
PATIENCE = 30


@contextmanager
def browser():
    """A `Page` of Chromium; skips the test where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("Chromium is not installed (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        started = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield Page(started)
        finally:
            started.quit()


class Page:
    """What a person sees and does. Waits end after 30 seconds."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address, width=1280, height=900, dark=False, calm=True):
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.resize(width, height)
        self.driver.get(address)

    def resize(self, width, height):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        return [found.text for found in self.all(selector)]

    def run(self, script, *values):
        return self.driver.execute_script(script, *values)

    def until(self, condition):
        """What `condition` gives as soon as that is true."""
        waiting = WebDriverWait(
            self.driver, PATIENCE, 0.02, ignored_exceptions=(StaleElementReferenceException,)
        )
        return waiting.until(lambda driver: condition())

    def press(self, *keys):
        """Keys for whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self):
        return self.driver.switch_to.active_element.get_attribute("id")

    def type(self, selector, text):
        self.one(selector).clear()
        self.one(selector).send_keys(text)

    def choose(self, selector, value):
        self.until(lambda: self.all(f'{selector} option[value="{value}"]'))
        self.one(f'{selector} option[value="{value}"]').click()

    def ask(self, question):
        """Ask, and wait for the end: an answer or an error."""
        self.type("#question", question)
        self.press(Keys.ENTER)
        self.until(self.ended)

    def ended(self):
        return self.one("#ask").is_enabled()

    def answers(self):
        return self.texts(".result strong")

    def error(self):
        return self.one("#error").text

    def errors_of_the_console(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def shoot(self, name, width=1280, height=None):
        """Keep a picture, of the whole page without a height."""
        self.resize(width, height or 900)
        tall = height or self.run("return document.documentElement.scrollHeight")
        self.resize(width, tall)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        assert self.driver.save_screenshot(str(path))
        return path
