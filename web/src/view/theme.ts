// Light or dark: as the device says, or as chosen here.

type Theme = "auto" | "light" | "dark";

const KEY = "theme";
const WORDS: Readonly<Record<Theme, string>> = { auto: "As this device", light: "Light", dark: "Dark" };

function stored(): Theme {
  try {
    const theme = localStorage.getItem(KEY);
    return theme === "light" || theme === "dark" ? theme : "auto";
  } catch {
    return "auto"; // storage may be forbidden; the choice then lasts as long as the page
  }
}

let theme = stored();

/** Makes the page look as was chosen. */
export function applyTheme(): void {
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

/** Goes on to the next choice and returns it in words. */
export function nextTheme(): string {
  theme = theme === "auto" ? "light" : theme === "light" ? "dark" : "auto";
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // see stored()
  }
  applyTheme();
  return WORDS[theme];
}
