import en, { type Catalogue, type Key, type Plural } from "../messages/en";

// Languages and how each is written. Their catalogues are loaded when they are chosen; English is the one that is always there.
export const languages = {
  en: { name: "English", direction: "ltr" },
  de: { name: "Deutsch", direction: "ltr" },
  ar: { name: "العربية", direction: "rtl" },
} as const;
export type Language = keyof typeof languages;

const load: Record<Language, () => Promise<{ default: Catalogue }>> = {
  en: () => Promise.resolve({ default: en }),
  de: () => import("../messages/de"),
  ar: () => import("../messages/ar"),
};

export const isLanguage = (s: string | null | undefined): s is Language => typeof s === "string" && Object.hasOwn(languages, s);

// preferred is the first language of the browser that there is a catalogue for.
export function preferred(wanted: readonly string[]): Language {
  return wanted.map((w) => w.split("-")[0]).find(isLanguage) ?? "en";
}

type Values = Record<string, string | number>;

// fill puts values into a text. A text with plural forms takes the form for `n`.
export function fill(text: string | Plural, values: Values, language: string): string {
  const form = typeof text === "string" ? text : text[plural(language, Number(values["n"] ?? 0))] ?? text.other;
  return form.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? value.toLocaleString(language) : value;
  });
}

const rules = new Map<string, Intl.PluralRules>();
function plural(language: string, n: number): Intl.LDMLPluralRule {
  let r = rules.get(language);
  if (!r) {
    rules.set(language, r = new Intl.PluralRules(language));
  }
  return r.select(n);
}

class Words {
  language = $state<Language>("en");
  // locale is the language as this person writes times: the browser's own variant of it where it has one.
  locale: string = $derived(navigator.languages.find((l) => l.split("-")[0] === this.language) ?? this.language);
  #catalogue = $state.raw<Catalogue>(en);

  async use(language: Language): Promise<void> {
    this.#catalogue = (await load[language]()).default;
    this.language = language;
    document.documentElement.lang = language;
    document.documentElement.dir = languages[language].direction;
  }

  text(key: Key, values: Values = {}): string {
    return fill(this.#catalogue[key] ?? en[key], values, this.language);
  }

  // raw is a text as it stands in the catalogue, for what fills it in elsewhere.
  raw(key: Key): string | Plural { return this.#catalogue[key] ?? en[key]; }

  has(key: string): key is Key { return Object.hasOwn(en, key); }
}

export const words = new Words();
export const t = (key: Key, values?: Values): string => words.text(key, values);
