// Times as people say them. `now` is a parameter so that tests do not depend on the day.

const day = 86_400_000;

// startOfDay is in the zone of the device.
function startOfDay(ms: number): number {
  const d = new Date(ms);
  return new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime();
}

export const sameDay = (a: number, b: number): boolean => startOfDay(a) === startOfDay(b);

const formats = new Map<string, Intl.DateTimeFormat>();
function format(language: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = language + JSON.stringify(options);
  let f = formats.get(key);
  if (!f) {
    formats.set(key, f = new Intl.DateTimeFormat(language, options));
  }
  return f;
}

export const clock = (ms: number, language: string): string => format(language, { hour: "numeric", minute: "2-digit" }).format(ms);

export const fullTime = (ms: number, language: string): string =>
  format(language, { dateStyle: "full", timeStyle: "short" }).format(ms);

// dayName is for separators and lists: today, yesterday, a weekday of the last six days, a date.
export function dayName(ms: number, language: string, now: number): string {
  const ago = Math.round((startOfDay(now) - startOfDay(ms)) / day);
  if (ago === 0 || ago === 1) {
    return capital(new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(-ago, "day"), language);
  }
  if (ago > 1 && ago < 7) {
    return format(language, { weekday: "long" }).format(ms);
  }
  const sameYear = new Date(ms).getFullYear() === new Date(now).getFullYear();
  return format(language, sameYear ? { day: "numeric", month: "long" } : { day: "numeric", month: "long", year: "numeric" }).format(ms);
}

// listTime is short: the time today, else the day.
export function listTime(ms: number, language: string, now: number): string {
  if (sameDay(ms, now)) {
    return clock(ms, language);
  }
  const ago = Math.round((startOfDay(now) - startOfDay(ms)) / day);
  if (ago === 1) {
    return dayName(ms, language, now);
  }
  if (ago > 1 && ago < 7) {
    return format(language, { weekday: "short" }).format(ms);
  }
  return format(language, { day: "numeric", month: "short" }).format(ms);
}

// dayTime is a time of the last days in words: "Today 14:05", "Monday 9:00", else the day.
export function dayTime(ms: number, language: string, now: number): string {
  const recent = now - ms < 7 * day;
  return recent ? `${dayName(ms, language, now)} ${clock(ms, language)}` : dayName(ms, language, now);
}

// endTime says when something ends: the time within a day, else with the date.
export const endTime = (ms: number, language: string, now: number): string => (ms - now < day ? clock(ms, language)
  : format(language, { weekday: "short", day: "numeric", month: "short", hour: "numeric", minute: "2-digit" }).format(ms));

const capital = (s: string, language: string): string => s.charAt(0).toLocaleUpperCase(language) + s.slice(1);
