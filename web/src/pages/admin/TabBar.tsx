import { SegmentedControl } from '@mantine/core';

/** Lists that belong together, one at a time; which one stands in the address. */
export function TabBar<T extends string>({
  label,
  value,
  options,
  name,
  choose,
}: {
  label: string;
  value: T;
  options: readonly T[];
  name: (option: T) => string;
  choose: (option: T) => void;
}) {
  return (
    <SegmentedControl
      mb="md"
      aria-label={label}
      value={value}
      onChange={(it) => {
        const chosen = options.find((one) => one === it);
        if (chosen) choose(chosen);
      }}
      data={options.map((it) => ({ value: it, label: name(it) }))}
    />
  );
}
