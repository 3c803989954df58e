// The present, to the minute: what says "today" changes at midnight without a reload.
class Day {
  now = $state(Date.now());

  constructor() {
    const tick = () => { this.now = Date.now(); };
    setInterval(tick, 60_000);
    document.addEventListener("visibilitychange", tick);
  }
}

export const day = new Day();
