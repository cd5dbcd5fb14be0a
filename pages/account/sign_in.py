"""The page of people who are not signed in."""

from pages._ui import sign_in

sign_in.page()
