// A few line drawings, so that no icon library is in the first view.

const paths = {
  home: 'M4 11 12 4l8 7M6 10v10h12V10M10 20v-6h4v6',
  key: 'M14.5 9.5a4.5 4.5 0 1 1-2.7-4.1 4.5 4.5 0 0 1 2.7 4.1Zm-1 3L20 19m-2.5-2.5L15.5 18.5',
  list: 'M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01',
  wallet: 'M4 7h14a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2h11M16 13.5h.01',
  bill: 'M6 3h12v18l-3-2-3 2-3-2-3 2V3Zm3 5h6m-6 4h6',
  cube: 'M12 3 20 7.5v9L12 21l-8-4.5v-9L12 3Zm0 9 8-4.5M12 12v9m0-9L4 7.5',
  gift: 'M4 11h16v9H4zM3 7h18v4H3zM12 7v13M12 7c-5 0-5-4-2.5-4S12 7 12 7Zm0 0c5 0 5-4 2.5-4S12 7 12 7Z',
  gear: 'M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6Zm8-3-2.2-1.2.2-2.5-2.5-.4-1.4-2.1L12 7.2 9.9 5.8 8.5 7.9 6 8.3l.2 2.5L4 12l2.2 1.2-.2 2.5 2.5.4 1.4 2.1 2.1-1.4 2.1 1.4 1.4-2.1 2.5-.4-.2-2.5L20 12Z',
  chart: 'M4 20V4m0 16h16M8 16v-4m4 4V8m4 8v-6',
  users:
    'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7Zm-6 9c0-3.5 2.7-5.5 6-5.5s6 2 6 5.5M16 4.5a3.5 3.5 0 0 1 0 6.5m2.5 3.9c1.7.9 2.5 2.6 2.5 5.1',
  plug: 'M9 3v5m6-5v5M6 8h12v3a6 6 0 0 1-12 0V8Zm6 9v4',
  tag: 'M4 12V4h8l8 8-8 8-8-8Zm4-4h.01',
  shield: 'M12 3 5 6v5c0 5 3 8 7 10 4-2 7-5 7-10V6l-7-3Z',
  mail: 'M3 6h18v12H3zM3 7l9 6 9-6',
  book: 'M5 4h11a3 3 0 0 1 3 3v13H8a3 3 0 0 1-3-3V4Zm0 13a3 3 0 0 1 3-3h11',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  check: 'm5 12.5 4.5 4.5L19 7.5',
  sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm0-13v2m0 14v2M3 12h2m14 0h2M5.6 5.6 7 7m10 10 1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4',
  moon: 'M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5Z',
  globe: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM3 12h18M12 3c5 5 5 13 0 18-5-5-5-13 0-18Z',
  person: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm-7.5 9c0-4 3.3-6.5 7.5-6.5s7.5 2.5 7.5 6.5',
  out: 'M14 4h5v16h-5M10 8l-4 4 4 4m-4-4h9',
  alert: 'M12 8v5m0 3.5h.01M12 3 2.5 20h19L12 3Z',
  fingerprint:
    'M6 18c1.5-2 2-4 2-6a4 4 0 0 1 8 0c0 1 0 2-.2 3M12 12c0 4-1 6.5-2.5 8.5M15 18c-.3 1-.7 2-1.2 3M4.5 14c.4-1 .5-1.5.5-2.500a7 7 0 0 1 13.9-1c.2 2 .1 4-.4 6.500M7 5.500a8 8 0 0 1 10 0',
  megaphone: 'M4 10v4h3l8 4V6L7 10H4Zm15-1.500a5 5 0 0 1 0 7M8 14l1 6h2l-1-5',
  play: 'M8 5v14l11-7L8 5Z',
  flag: 'M6 21V4h11l-2 4 2 4H6',
  gauge: 'M4 18a8 8 0 1 1 16 0M12 18l4-6',
  webhook:
    'M9 8a3 3 0 1 1 4.500 2.600L10.500 16M12 8l3.500 6a3 3 0 1 1-2 3.500M9.500 11a3 3 0 1 0 1.500 5.500h5',
  stamp:
    'M8 13c1.500-2 0-4 0-6a4 4 0 0 1 8 0c0 2-1.500 4 0 6h2a2 2 0 0 1 2 2v2H4v-2a2 2 0 0 1 2-2h2ZM5 21h14',
  search: 'M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14Zm5-2 5 5',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.8"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={paths[name]} />
    </svg>
  );
}
