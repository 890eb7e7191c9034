import { useMemo } from 'react';
import { encode } from 'uqr';

/** A code to be scanned: one path, dark on white whatever the page's colours, so that nothing but the page draws it. */
export function Qr({ content, title, over = false }: { content: string; title: string; over?: boolean }) {
  const { size, path } = useMemo(() => {
    const code = encode(content, { border: 2, ecc: 'M' });
    const squares = code.data.flatMap((row, y) =>
      row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : [])),
    );
    return { size: code.size, path: squares.join('') };
  }, [content]);
  return (
    <svg className={over ? 'qr over' : 'qr'} viewBox={`0 0 ${size} ${size}`} role="img" aria-label={title}>
      <path d={path} fill="#000" shapeRendering="crispEdges" />
    </svg>
  );
}
