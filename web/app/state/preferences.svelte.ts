import { isLanguage, preferred, words, type Language } from "./language.svelte";

// How this browser shows the client. Not secret, so plain storage; where that is denied, choices last until reload.
export type Theme = "system" | "light" | "dark";

function kept(name: string): string | null {
  try {
    return localStorage.getItem(`sotto.${name}`);
  } catch {
    return null;
  }
}

function keep(name: string, value: string): void {
  try {
    localStorage.setItem(`sotto.${name}`, value);
  } catch {
    // lasts until reload
  }
}

class Preferences {
  theme = $state<Theme>("system");
  notify = $state(false); // show notifications while the page is in the background
  push = $state(false); // and while every window is closed
  enterSends = $state(true);

  async load(): Promise<void> {
    const theme = kept("theme"), language = kept("language");
    this.setTheme(theme === "light" || theme === "dark" ? theme : "system");
    this.notify = kept("notify") === "yes";
    this.push = kept("push") === "yes";
    this.enterSends = kept("enter") !== "breaks";
    await words.use(isLanguage(language) ? language : preferred(navigator.languages));
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    if (theme === "system") {
      delete document.documentElement.dataset["theme"];
    } else {
      document.documentElement.dataset["theme"] = theme;
    }
    keep("theme", theme);
  }

  async setLanguage(language: Language): Promise<void> {
    await words.use(language);
    keep("language", language);
  }

  setNotify(on: boolean): void {
    this.notify = on;
    keep("notify", on ? "yes" : "no");
  }

  setPush(on: boolean): void {
    this.push = on;
    keep("push", on ? "yes" : "no");
  }

  // pushWished is what was chosen last, in whichever tab.
  pushWished(): boolean {
    const wish = kept("push");
    this.push = wish === null ? this.push : wish === "yes";
    return this.push;
  }

  setEnterSends(on: boolean): void {
    this.enterSends = on;
    keep("enter", on ? "sends" : "breaks");
  }
}

export const preferences = new Preferences();
