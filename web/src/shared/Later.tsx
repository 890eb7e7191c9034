import { type ReactNode, startTransition, useEffect, useState } from 'react';
import { Waiting } from './States';

/** Was anything painted since the page was opened? Whoever goes from page to page waits for nothing. */
let painted = false;

/** What stands below the first view: it is made once that is painted. `height`: of the grey bar in its place, in pixels. */
export function Later({ height, children }: { height: number; children: ReactNode }) {
  const [due, setDue] = useState(painted);
  useEffect(() => {
    if (due) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const frame = requestAnimationFrame(() => {
      timer = setTimeout(() => {
        painted = true;
        startTransition(() => setDue(true));
      });
    });
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
    };
  }, [due]);
  return due ? children : <Waiting rows={1} height={height} />;
}
